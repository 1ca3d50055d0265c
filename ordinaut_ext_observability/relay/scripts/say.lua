local _, store, publisher, content, ttl_ms = unpack(ARGV)
if identity() ~= store then
    return 0
end
local now = now_ms()
redis.call('HSET', ENTRIES, publisher, string.format('%.0f ', now + ttl_ms) .. content)
redis.call('ZADD', SEEN, now, publisher)
return 1
