#!lua
-- Put tickets on one list and wake idle workers for them.
-- KEYS  1 epoch  2 ticket list  3 idle set  4 rq:queues
-- ARGV  1 epoch  2 front (0/1)  3 most tickets the list may hold  4 enqueued_at (ISO)  5 queue name  6… ids
-- Returns  depth after the push, -1 when the list is full (nothing pushed); error EPOCH
-- Cost  O(ids)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH') end
local n = #ARGV - 5
local depth = redis.call('LLEN', KEYS[2])
if depth + n > tonumber(ARGV[3]) then return -1 end
local verb = ARGV[2] == '1' and 'LPUSH' or 'RPUSH'
if depth == 0 then redis.call('SADD', KEYS[4], 'rq:queue:' .. ARGV[5]) end
for i = 6, #ARGV do
  local id = ARGV[i]
  redis.call('HSET', 'rq:job:' .. id, 'data', '["jobs.run",null,["' .. id .. '"],{}]', 'status', 'queued',
    'origin', ARGV[5], 'enqueued_at', ARGV[4], 'exec', '')
  redis.call(verb, KEYS[2], id)
end
for _, worker in ipairs(redis.call('SPOP', KEYS[3], math.ceil(n / 16))) do
  redis.call('RPUSH', 'tc:wake:' .. worker, '1')
  redis.call('EXPIRE', 'tc:wake:' .. worker, 30)
end
return depth + n
