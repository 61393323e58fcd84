#!lua
-- Wake one idle worker for each list that holds tickets: covers wake-ups spent on workers that died.
-- KEYS  ticket lists
-- ARGV  none
-- Returns  how many were woken
-- Cost  O(lists)
local woken = 0
for _, list in ipairs(KEYS) do
  if redis.call('LLEN', list) > 0 then
    local worker = redis.call('SPOP', 'tc:idle:' .. string.sub(list, 10))
    if worker then
      redis.call('RPUSH', 'tc:wake:' .. worker, '1')
      redis.call('EXPIRE', 'tc:wake:' .. worker, 30)
      woken = woken + 1
    end
  end
end
return woken
