-- KEYS[7], ARGV[6] and ARGV[7]: a document, the version it must have and its new content, where there is one.
local _, store, publisher, sequence, deltas = unpack(ARGV, 1, 5)
if identity() ~= store then
    return 'replaced'
end
local last = tonumber(redis.call('HGET', PUBLISHERS, publisher) or -2)
if tonumber(sequence) > last + 1 then
    return 'forgotten'
end
if tonumber(sequence) <= last then
    return 'added'
end
if KEYS[7] and (redis.call('HGET', KEYS[7], 'version') or '0') ~= ARGV[6] then
    return 'outdated'
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
redis.call('ZADD', SEEN, now_ms(), publisher)
if KEYS[7] then
    redis.call('HSET', KEYS[7], 'version', ARGV[6] + 1, 'content', ARGV[7])
end
return 'added'
