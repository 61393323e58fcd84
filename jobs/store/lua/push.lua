#!lua
-- Put tickets on one list, its queue into its ring, and wake idle workers for them.
-- KEYS  1 epoch  2 ticket list  3 rq:queues
-- ARGV  1 epoch  2 front (0/1)  3 most tickets the list may hold  4 enqueued_at (ISO)  5… ids
-- Returns  depth after the push, -1 when the list is full (nothing pushed); error EPOCH
-- Cost  O(ids)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH') end
local n = #ARGV - 4
local depth = redis.call('LLEN', KEYS[2])
if depth + n > tonumber(ARGV[3]) then return -1 end
local verb, queue = ARGV[2] == '1' and 'LPUSH' or 'RPUSH', parts(KEYS[2])
if depth == 0 then redis.pcall('SADD', KEYS[3], 'rq:queue:' .. queue) end
for i = 5, #ARGV do
  local id = ARGV[i]
  redis.call(verb, KEYS[2], id)
  redis.pcall('HSET', 'rq:job:' .. id, 'data', '["jobs.run",null,["' .. id .. '"],{}]', 'status', 'queued',
    'origin', queue, 'enqueued_at', ARGV[4], 'exec', '')
end
join(KEYS[2])
wake_for(KEYS[2], math.ceil(n / 16))
return depth + n
