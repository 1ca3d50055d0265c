-- KEYS: state (hash: identity, server), series (list), total (64-bit numbers, one after the other), publishers (hash:
-- id -> sequence), seen (sorted set: id -> ms), entries (hash: id -> '<ms until> <content>'). ARGV begins with a new
-- identity, for a store that has to begin anew.
local STATE, SERIES, TOTAL, PUBLISHERS, SEEN, ENTRIES = unpack(KEYS, 1, 6)

local function now_ms()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A server that started again, or a replica that was promoted, may lack the last moments; one short of memory may have
-- evicted a key. Then all begins anew under another identity, at zero.
local function identity()
    local info = redis.pcall('INFO', 'server')
    local server = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
    local held = redis.call('HMGET', STATE, 'identity', 'server')
    if held[1] and held[2] == server and redis.call('EXISTS', SERIES, TOTAL, PUBLISHERS) == 3 then
        return held[1]
    end
    redis.call('DEL', STATE, SERIES, TOTAL, PUBLISHERS, SEEN, ENTRIES)
    redis.call('HSET', STATE, 'identity', ARGV[1], 'server', server)
    -- Each has a first element, so that it is there while it has no other.
    redis.call('RPUSH', SERIES, '')
    redis.call('SETRANGE', TOTAL, 7, '\0')
    redis.call('HSET', PUBLISHERS, '', '0')
    return ARGV[1]
end
