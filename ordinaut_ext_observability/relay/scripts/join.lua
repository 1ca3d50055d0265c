local _, publisher, remembered_ms = unpack(ARGV)
local store, now = identity(), now_ms()
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', SEEN, '-inf', now - remembered_ms, 'LIMIT', 0, 100)) do
    redis.call('HDEL', PUBLISHERS, gone)
    redis.call('HDEL', ENTRIES, gone)
    redis.call('ZREM', SEEN, gone)
end
redis.call('HSETNX', PUBLISHERS, publisher, '0')
redis.call('ZADD', SEEN, now, publisher)
return store
