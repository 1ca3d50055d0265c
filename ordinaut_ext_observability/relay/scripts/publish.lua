-- ttl_ms is empty where nothing is said. KEYS[7] is the document whose version is answered. KEYS[8], version and content:
-- a document to write, which version it must have, and its new content, where there is one.
local _, store, publisher, sequence, deltas, said, ttl_ms, version, content = unpack(ARGV)
if identity() ~= store then
    return { 'replaced' }
end
local watched = redis.call('HGET', KEYS[7], 'version') or '0'
local last = tonumber(redis.call('HGET', PUBLISHERS, publisher) or -2)
if tonumber(sequence) > last + 1 then
    return { 'forgotten' }
end
if tonumber(sequence) <= last then
    return { 'added', watched }
end
if KEYS[8] and (redis.call('HGET', KEYS[8], 'version') or '0') ~= version then
    return { 'outdated' }
end
local operations = {}
local function add()
    if #operations > 0 then
        redis.call('BITFIELD', TOTAL, 'OVERFLOW', 'SAT', unpack(operations))
        operations = {}
    end
end
for place, delta in string.gmatch(deltas, '(%d+) (-?%d+)') do
    local n = #operations
    operations[n + 1], operations[n + 2], operations[n + 3], operations[n + 4] = 'INCRBY', 'i64', '#' .. place, delta
    if n > 4000 then
        add()
    end
end
add()
redis.call('HSET', PUBLISHERS, publisher, sequence)
local now = now_ms()
redis.call('ZADD', SEEN, now, publisher)
if ttl_ms ~= '' then
    redis.call('HSET', ENTRIES, publisher, string.format('%.0f ', now + ttl_ms) .. said)
end
if KEYS[8] then
    redis.call('HSET', KEYS[8], 'version', version + 1, 'content', content)
end
return { 'added', watched }
