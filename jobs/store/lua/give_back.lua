#!lua flags=allow-oom
-- Return held tickets to the lists they came from, unclaimed.
-- KEYS  1 epoch  2 inflight hash
-- ARGV  1 epoch  2 worker  3 front (0/1; give ids in reverse order then)  4… ids
-- Returns  how many went back; error EPOCH
-- Cost  O(ids)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH') end
local back, verb = 0, ARGV[3] == '1' and 'LPUSH' or 'RPUSH'
for i = 4, #ARGV do
  local id = ARGV[i]
  local list = redis.call('HGET', KEYS[2], id)
  if list then
    back = back + 1
    redis.call(verb, list, id)
    redis.call('HDEL', KEYS[2], id)
    redis.pcall('ZREM', 'rq:wip:' .. parts(list), id .. ':' .. ARGV[2])
    redis.pcall('HSET', 'rq:job:' .. id, 'status', 'queued', 'exec', '', 'worker_name', '')
    join(list)
    let_go(list, id)
  end
end
return back
