#!lua flags=allow-oom
-- Forget tickets that this worker holds; a ticket that was pushed anew meanwhile keeps its hash.
-- KEYS  1 inflight hash
-- ARGV  1 worker  2… ids
-- Returns  how many were held
-- Cost  O(ids)
local held = 0
for i = 2, #ARGV do
  local id = ARGV[i]
  local list = redis.call('HGET', KEYS[1], id)
  if list then
    held = held + 1
    redis.call('HDEL', KEYS[1], id)
    redis.pcall('ZREM', 'rq:wip:' .. parts(list), id .. ':' .. ARGV[1])
    if redis.pcall('HGET', 'rq:job:' .. id, 'exec') == ARGV[1] then redis.call('DEL', 'rq:job:' .. id) end
    let_go(list, id)
  end
end
return held
