#!lua flags=allow-oom
-- Pop up to `want` tickets from several sources and register them as started, in one step. A source is a ring, whose
-- queues give in turn, or a single ticket list. First each source gives up to its share, then any of them what is left.
-- Finds nothing: registers the worker as idle on all of them, so that no push can be missed in between.
-- KEYS  1 epoch  2 inflight hash  3… sources
-- ARGV  1 epoch  2 worker  3 want  4 score for the started registry  5 was idle (0/1)  6 least turn of a queue
--       7… a share per source, then pairs: queue, how many more of it this worker may run
-- Returns  {source index, queue, id, id, …} per turn that gave any; error EPOCH
-- Cost  O(want + queues named), whatever the number of others. At most 256 looks at queues, and 1024 at such that this
--   worker has no room for; every source has its part of them, and the next fetch goes on behind.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return redis.error_reply('EPOCH') end
local worker, want, least, sources = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[6]), #KEYS - 2
local looks, skips, found, held, rooms = 256, 1024, {}, {}, {}
local sizes, seen, full, skipped = {}, {}, {}, nil
local some_held, some_limited = redis.call('EXISTS', 'tc:held') == 1, redis.call('EXISTS', 'tc:limit') == 1
redis.call('HLEN', KEYS[2])  -- a key of the wrong type must fail before anything is popped
for i = 7 + sources, #ARGV, 2 do rooms[ARGV[i]] = tonumber(ARGV[i + 1]) end

-- Up to `most` tickets of one list; returns how many, and whether its queue keeps its place in the ring.
local function take(source, list, most)
  local queue, slug = parts(list)
  if some_held and redis.pcall('SISMEMBER', 'tc:held', queue) == 1 then return 0, false end
  local room, limited = rooms[queue], false
  if room then most = math.min(most, room) end
  if most <= 0 then
    skipped = skipped or list
    return 0, true
  end
  if slug and some_limited then
    limited = tonumber(redis.pcall('HGET', 'tc:limit', slug) or nil)
    if limited then
      local running = redis.pcall('SCARD', 'tc:run:' .. slug)
      most = math.min(most, limited - (tonumber(running) or 0))
      if most <= 0 then
        redis.pcall('SADD', 'tc:parked:' .. slug, list)
        redis.pcall('EXPIRE', 'tc:parked:' .. slug, 60)
        return 0, false
      end
    end
  end
  local ids = redis.pcall('LPOP', list, most)
  if not ids or failed(ids) then return 0, false end
  local wip = {}
  for i, id in ipairs(ids) do
    wip[2 * i - 1], wip[2 * i] = ARGV[4], id .. ':' .. worker
    held[#held + 1], held[#held + 2] = id, list
    redis.pcall('HSET', 'rq:job:' .. id, 'status', 'started', 'exec', worker, 'worker_name', worker)
  end
  redis.pcall('ZADD', 'rq:wip:' .. queue, unpack(wip))
  if limited then redis.pcall('SADD', 'tc:run:' .. slug, unpack(ids)) end
  if room then rooms[queue] = room - #ids end
  local count = #ids
  table.insert(ids, 1, queue)
  table.insert(ids, 1, source)
  found[#found + 1] = ids
  want = want - count
  return count, count == most and redis.call('LLEN', list) > 0
end

-- Once around a ring at most; every queue gives its turn and goes to the end. Full ones are put aside until the end.
local function walk(source, ring, share, most_looks, most_skips)
  local size = redis.pcall('ZCARD', ring)
  if failed(size) or size == 0 then return 0 end
  sizes[source] = sizes[source] or size
  local name, taken, turn = string.sub(ring, 9), 0, math.max(least, math.ceil(share / size))
  local last = tonumber(redis.call('ZRANGE', ring, -1, -1, 'WITHSCORES')[2])
  local at = string.find(name, ':', 1, true)
  local lane, aside = at and string.sub(name, at) or '', full[ring] or {}
  full[ring] = aside
  for _ = 1, size do
    if taken >= share or most_looks <= 0 or most_skips <= 0 then break end
    local queue = redis.call('ZPOPMIN', ring)[1]
    seen[source] = (seen[source] or 0) + 1
    if rooms[queue] == 0 then
      most_skips, skips = most_skips - 1, skips - 1
      aside[#aside + 1] = queue
      skipped = skipped or 'rq:queue:' .. queue .. lane
    else
      most_looks, looks = most_looks - 1, looks - 1
      local count, stays = take(source, 'rq:queue:' .. queue .. lane, math.min(turn, share - taken))
      taken = taken + count
      if stays then
        last = last + 1
        redis.call('ZADD', ring, last, queue)
      end
    end
  end
  return taken
end

-- The queues that were put aside go to the end of their ring.
local function put_back(ring, aside)
  if #aside == 0 then return end
  local last = tonumber(redis.call('ZRANGE', ring, -1, -1, 'WITHSCORES')[2]) or 0
  local places = {}
  for i, queue in ipairs(aside) do places[2 * i - 1], places[2 * i] = last + i, queue end
  redis.call('ZADD', ring, unpack(places))
end

for pass = 1, 2 do
  for k = 1, sources do
    local source = KEYS[k + 2]
    local share = pass == 1 and math.min(want, tonumber(ARGV[6 + k])) or want
    if share > 0 then
      if string.sub(source, 1, 8) ~= 'tc:ring:' then take(k, source, share)
      elseif pass == 2 then walk(k, source, share, looks, skips)
      else walk(k, source, share, math.ceil(256 / sources), math.ceil(1024 / sources)) end
    end
  end
end
for ring, aside in pairs(full) do put_back(ring, aside) end
if #held > 0 then redis.call('HSET', KEYS[2], unpack(held)) end

local idle = #found == 0
for k = 3, #KEYS do
  local name = string.gsub(string.gsub(KEYS[k], '^tc:ring:', ''), '^rq:queue:', '')
  if idle then redis.pcall('SADD', 'tc:idle:' .. name, worker)
  elseif ARGV[5] == '1' then redis.pcall('SREM', 'tc:idle:' .. name, worker) end
end
if idle and next(rooms) then  -- what need not wake it
  redis.call('DEL', 'tc:full:' .. worker)
  local names = {}
  for queue, room in pairs(rooms) do
    if room == 0 and #names < 1000 then names[#names + 1] = queue end
  end
  if #names > 0 then
    redis.call('SADD', 'tc:full:' .. worker, unpack(names))
    redis.call('EXPIRE', 'tc:full:' .. worker, 30)
  end
end
if skipped then wake_for(skipped, 1) end  -- another one may have room
local left, aside = 0, 0  -- in rings that were not seen to their end
for k = 1, idle and sources or 0 do
  if (seen[k] or 0) < (sizes[k] or 0) then
    left, aside = left + redis.call('ZCARD', KEYS[k + 2]), aside + #full[KEYS[k + 2]]
  end
end
if idle and left > 0 then  -- the next fetch goes on at once, but around full queues once in a second
  local round = aside > 0 and redis.call('INCRBY', 'tc:round:' .. worker, aside) or 0
  if aside > 0 and round == aside then redis.call('EXPIRE', 'tc:round:' .. worker, 1) end
  if round < left + aside then
    redis.call('RPUSH', 'tc:wake:' .. worker, '1')
    redis.call('EXPIRE', 'tc:wake:' .. worker, 30)
  end
elseif not idle and want <= 0 then  -- what is left wakes one more
  for k = 3, #KEYS do
    local is_ring = string.sub(KEYS[k], 1, 8) == 'tc:ring:'
    local left = redis.pcall(is_ring and 'ZCARD' or 'LLEN', KEYS[k])
    if not failed(left) and left > 0 then
      local name = string.gsub(string.gsub(KEYS[k], '^tc:ring:', ''), '^rq:queue:', '')
      if wake('tc:idle:' .. name, 1) == 1 then break end
    end
  end
end
return found
