-- KEYS: the documents, then the queues of the rows. ARGV: how many documents, the longest queue; for each document its
-- version and content; for each row its content and time to live in milliseconds.
local documents, longest = tonumber(ARGV[1]), tonumber(ARGV[2])
for i = 1, documents do
    if (redis.call('HGET', KEYS[i], 'version') or '0') ~= ARGV[1 + 2 * i] then
        return 0
    end
end
for i = 1, documents do
    redis.call('HSET', KEYS[i], 'version', ARGV[1 + 2 * i] + 1, 'content', ARGV[2 + 2 * i])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = documents + 1, #KEYS do
    local content, ttl = ARGV[1 + 2 * i], tonumber(ARGV[2 + 2 * i])
    redis.call('RPUSH', KEYS[i], string.format('%.0f ', now + ttl) .. content)
    redis.call('LTRIM', KEYS[i], -longest, -1)
    redis.call('PEXPIRE', KEYS[i], math.max(ttl, redis.call('PTTL', KEYS[i])))
end
return 1
