local _, store, publisher = unpack(ARGV)
if identity() == store then
    redis.call('HDEL', PUBLISHERS, publisher)
    redis.call('HDEL', ENTRIES, publisher)
    redis.call('ZREM', SEEN, publisher)
end
return 1
