#!lua flags=allow-oom
-- Remove what a dead worker left in Redis; its tasks are decided from the rows alone.
-- KEYS  1 inflight hash  2 wake list
-- ARGV  1 worker
-- Returns  how many tickets it held
-- Cost  O(tickets held)
local held = redis.call('HGETALL', KEYS[1])
for i = 1, #held, 2 do
  local queue = string.gsub(string.gsub(string.sub(held[i + 1], 10), ':iso$', ''), ':poll$', '')
  redis.call('ZREM', 'rq:wip:' .. queue, held[i] .. ':' .. ARGV[1])
  if redis.call('HGET', 'rq:job:' .. held[i], 'exec') == ARGV[1] then redis.call('DEL', 'rq:job:' .. held[i]) end
end
redis.call('DEL', KEYS[1], KEYS[2])
return #held / 2
