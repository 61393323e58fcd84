#!lua flags=allow-oom
-- Remove what a dead worker left in Redis; its tasks are decided from the rows alone.
-- KEYS  1 inflight hash  2 wake list
-- ARGV  1 worker
-- Returns  how many tickets it held
-- Cost  O(tickets held)
local held = redis.call('HGETALL', KEYS[1])
redis.call('DEL', KEYS[1], KEYS[2], 'tc:full:' .. ARGV[1])
for i = 1, #held, 2 do
  local id, list = held[i], held[i + 1]
  redis.pcall('ZREM', 'rq:wip:' .. parts(list), id .. ':' .. ARGV[1])
  if redis.pcall('HGET', 'rq:job:' .. id, 'exec') == ARGV[1] then redis.call('DEL', 'rq:job:' .. id) end
  let_go(list, id)
end
return #held / 2
