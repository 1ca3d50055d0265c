-- KEYS: for each table its records and the instants at which they end.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
for i = 1, #KEYS, 2 do
    for _, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i + 1], '-inf', now)) do
        redis.call('HDEL', KEYS[i], key)
        redis.call('ZREM', KEYS[i + 1], key)
    end
    found[#found + 1] = redis.call('HGETALL', KEYS[i])
end
return found
