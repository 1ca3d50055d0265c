-- Each note carries its deadline: a list expires only as a whole.
local content, ttl_ms, kept = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local deadline = time[1] * 1000 + math.floor(time[2] / 1000) + ttl_ms

redis.call('RPUSH', KEYS[1], string.format('%.0f', deadline) .. ':' .. content)
redis.call('LTRIM', KEYS[1], '-' .. kept, -1)
-- Not before the notes that were to be kept for longer.
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.max(ttl_ms, redis.call('PTTL', KEYS[1]))))
return 1
