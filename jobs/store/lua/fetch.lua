#!lua flags=allow-oom
-- Pop up to `want` tickets from several lists in the order given and register them as started, in one step.
-- Finds nothing: registers the worker as idle on all of them, so that no push can be missed in between.
-- KEYS  1 epoch  2 inflight hash  3… ticket lists
-- ARGV  1 epoch  2 worker  3 want  4 score for the started registry  5 was idle (0/1)
-- Returns  {list index, id, id, …} per list that gave any; error EPOCH
-- Cost  O(lists + want)
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH') end
local worker, want, found, left = ARGV[2], tonumber(ARGV[3]), {}, nil
for k = 3, #KEYS do
  if want <= 0 then break end
  local ids = redis.call('LPOP', KEYS[k], want)
  if ids then
    local queue = string.gsub(string.gsub(string.sub(KEYS[k], 10), ':iso$', ''), ':poll$', '')
    local wip, inflight = {}, {}
    for i, id in ipairs(ids) do
      wip[2 * i - 1], wip[2 * i] = ARGV[4], id .. ':' .. worker
      inflight[2 * i - 1], inflight[2 * i] = id, KEYS[k]
      redis.call('HSET', 'rq:job:' .. id, 'status', 'started', 'exec', worker, 'worker_name', worker)
    end
    redis.call('ZADD', 'rq:wip:' .. queue, unpack(wip))
    redis.call('HSET', KEYS[2], unpack(inflight))
    want = want - #ids
    if want <= 0 and redis.call('LLEN', KEYS[k]) > 0 then left = KEYS[k] end
    table.insert(ids, 1, k - 2)
    found[#found + 1] = ids
  end
end
local idle = #found == 0
for k = 3, #KEYS do
  local set = 'tc:idle:' .. string.sub(KEYS[k], 10)
  if idle then redis.call('SADD', set, worker) elseif ARGV[5] == '1' then redis.call('SREM', set, worker) end
end
if left then
  local next = redis.call('SPOP', 'tc:idle:' .. string.sub(left, 10))
  if next then redis.call('RPUSH', 'tc:wake:' .. next, '1'); redis.call('EXPIRE', 'tc:wake:' .. next, 30) end
end
return found
