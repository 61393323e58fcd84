#!lua flags=no-writes
-- About how many tickets a ring's queues hold: the sum over 32 of them, scaled.
-- KEYS  1… rings
-- Returns  a number per ring
-- Cost  O(rings)
local sums = {}
for k, ring in ipairs(KEYS) do
  local size, sum = redis.pcall('ZCARD', ring), 0
  if failed(size) then size = 0 end
  if size > 0 then
    local name = string.sub(ring, 9)
    local at = string.find(name, ':', 1, true)
    local some = redis.call('ZRANDMEMBER', ring, math.min(size, 32))
    for _, queue in ipairs(some) do
      local depth = redis.pcall('LLEN', 'rq:queue:' .. queue .. (at and string.sub(name, at) or ''))
      if not failed(depth) then sum = sum + depth end
    end
    sum = math.floor(sum * size / #some)
  end
  sums[k] = sum
end
return sums
