#!lua flags=allow-oom
-- Leave queues out of their rings: these besides the others, or these and no others.
-- KEYS  1 held set
-- ARGV  1 no others (0/1)  2… queues
-- Returns  how many are held out
-- Cost  O(queues)
if ARGV[1] == '1' then redis.call('DEL', KEYS[1]) end
for i = 2, #ARGV do redis.call('SADD', KEYS[1], ARGV[i]) end
return redis.call('SCARD', KEYS[1])
