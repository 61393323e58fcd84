#!lua flags=allow-oom
-- Heal one ring: every queue named that holds tickets has a place in it. Then wake one idle worker if anything waits:
-- that covers wake-ups spent on workers that died.
-- KEYS  1 epoch  2 ring
-- ARGV  1 epoch  2 lane suffix  3… queues of this ring with pending tasks
-- Returns  how many queues got a place; error EPOCH
-- Cost  O(queues named)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH') end
if failed(redis.pcall('ZCARD', KEYS[2])) then redis.call('DEL', KEYS[2]) end
local joined = 0
for i = 3, #ARGV do
  local list = 'rq:queue:' .. ARGV[i] .. ARGV[2]
  local depth = redis.pcall('LLEN', list)
  if failed(depth) then redis.call('DEL', list)  -- not a list: nothing of ours, and it blocks the queue
  elseif depth > 0 then
    if join(list) then joined = joined + 1 end
    if string.find(ARGV[i], ':', 1, true) then wake('tc:idle:' .. string.sub(list, 10), 1) end
  end
end
if redis.call('ZCARD', KEYS[2]) > 0 then wake('tc:idle:' .. string.sub(KEYS[2], 9), 1) end
return joined
