local owner, ttl_ms = ARGV[1], ARGV[2]
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= owner then
    return 0
end
redis.call('SET', KEYS[1], owner, 'PX', ttl_ms)
return 1
