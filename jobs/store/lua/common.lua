-- What the scripts share; put before each of them.
-- A ticket list `rq:queue:[<tenant>:]<base>[:iso|:poll]` belongs to the ring `tc:ring:<base>[:iso|:poll]` of the queues
-- that hold tickets; the queue with the lowest score has waited longest for its turn.

-- Queue, tenant (nil: the default one) and ring name (base and lane) of a ticket list.
local function parts(list)
  local name = string.sub(list, 10)
  local queue = string.gsub(string.gsub(name, ':iso$', ''), ':poll$', '')
  local at = string.find(queue, ':', 1, true)
  if not at then return queue, nil, name end
  return queue, string.sub(queue, 1, at - 1), string.sub(name, at + 1)
end

local function failed(answer) return type(answer) == 'table' and answer.err ~= nil end

-- Wake up to `count` of the workers that sleep in an idle set; not those that have no room for this queue (nil: all).
local function wake(set, count, queue)
  local woken, full = 0, {}
  while woken < count and #full < 64 do
    local idle = redis.pcall('SPOP', set, count - woken)
    if failed(idle) or #idle == 0 then break end
    for _, worker in ipairs(idle) do
      if queue and redis.pcall('SISMEMBER', 'tc:full:' .. worker, queue) == 1 then
        full[#full + 1] = worker
      else
        redis.call('RPUSH', 'tc:wake:' .. worker, '1')
        redis.call('EXPIRE', 'tc:wake:' .. worker, 30)
        woken = woken + 1
      end
    end
  end
  if #full > 0 then redis.pcall('SADD', set, unpack(full)) end
  return woken
end

-- Wake workers that sleep for this list: those of its ring first, then those that serve this queue alone.
local function wake_for(list, count)
  local queue, slug, ring = parts(list)
  local woken = wake('tc:idle:' .. ring, count, queue)
  if slug and woken < count then
    woken = woken + wake('tc:idle:' .. string.sub(list, 10), count - woken, queue)
  end
  return woken
end

-- Put a queue at the end of its ring, unless it has a place or is held out. Trouble with the ring is healed by the duty.
local function join(list)
  local queue, _, name = parts(list)
  local ring = 'tc:ring:' .. name
  if redis.pcall('SISMEMBER', 'tc:held', queue) == 1 then return false end
  local place = redis.pcall('ZSCORE', ring, queue)
  if place then return false end
  local last = redis.call('ZRANGE', ring, -1, -1, 'WITHSCORES')
  redis.call('ZADD', ring, (tonumber(last[2]) or 0) + 1, queue)
  return true
end

-- A ticket is no longer held by a worker: its tenant may run one more, and comes back into the rings that it left.
local function let_go(list, id)
  local _, slug = parts(list)
  if not slug or redis.pcall('SREM', 'tc:run:' .. slug, id) ~= 1 then return end
  local parked = redis.pcall('SMEMBERS', 'tc:parked:' .. slug)
  if failed(parked) or #parked == 0 then return end
  redis.call('DEL', 'tc:parked:' .. slug)
  for _, waiting in ipairs(parked) do
    if join(waiting) then wake_for(waiting, 1) end
  end
end
