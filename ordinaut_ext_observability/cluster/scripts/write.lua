-- KEYS: the documents, then the queues of the rows, then for each record its table and the instants at which records end.
-- ARGV: how many documents and rows, the longest queue, the largest table; for each document its version and content; for
-- each row its content and time to live in milliseconds; for each record its key, its content after an `=` (or nothing: it
-- goes) and its time to live (or nothing: it stays).
local documents, rows, longest, largest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
for i = 1, documents do
    if (redis.call('HGET', KEYS[i], 'version') or '0') ~= ARGV[3 + 2 * i] then
        return 0
    end
end
for i = 1, documents do
    redis.call('HSET', KEYS[i], 'version', ARGV[3 + 2 * i] + 1, 'content', ARGV[4 + 2 * i])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i = documents + 1, documents + rows do
    local content, ttl = ARGV[3 + 2 * i], tonumber(ARGV[4 + 2 * i])
    redis.call('RPUSH', KEYS[i], string.format('%.0f ', now + ttl) .. content)
    redis.call('LTRIM', KEYS[i], -longest, -1)
    redis.call('PEXPIRE', KEYS[i], math.max(ttl, redis.call('PTTL', KEYS[i])))
end
local argument = 5 + 2 * (documents + rows)
for i = documents + rows + 1, #KEYS, 2 do
    local table, ends, key, content, ttl = KEYS[i], KEYS[i + 1], ARGV[argument], ARGV[argument + 1], ARGV[argument + 2]
    argument = argument + 3
    redis.call('ZREM', ends, key)
    if content == '' then
        redis.call('HDEL', table, key)
    else
        redis.call('HSET', table, key, string.sub(content, 2))
        if ttl ~= '' then
            redis.call('ZADD', ends, string.format('%.0f', now + ttl), key)
        end
    end
    local surplus = redis.call('ZCARD', ends) - largest
    local ended = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 1000)
    if surplus > 0 then
        ended = redis.call('ZRANGE', ends, 0, surplus - 1)
    end
    for _, each in ipairs(ended) do
        redis.call('HDEL', table, each)
        redis.call('ZREM', ends, each)
    end
end
return 1
