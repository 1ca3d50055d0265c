-- Put before each script about vectors.
-- KEYS[1] is the prefix of all keys: further keys are made here, which all have its hash tag and so are in its slot.

local SEEN = KEYS[1] .. 'seen' -- sorted set: of each incarnation, when it published last, in ms
local FOLDED = KEYS[1] .. 'folded' -- hash: the sequence of each incarnation folded lately
local RETIRED = KEYS[1] .. 'retired' -- hash: store, version, content, folded (the hash above as JSON, in order)

local function vector_key(incarnation) -- hash: '<epoch>.<sequence>' -> content
    return KEYS[1] .. 'vector:' .. incarnation
end

-- Lua writes large numbers with an exponent.
local function digits(number)
    return string.format('%.0f', number)
end

local function now_ms()
    local time = redis.call('TIME')
    return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The id is in the hash of the retired total, so that whoever evicts or deletes the total takes the id with it.
-- The server's own id of this run is part of it: a server that starts again from an old snapshot, or a replica that is
-- promoted, may lack the last minutes although it has a total. Who may not ask for it does without.
local function identity(candidate)
    local id = redis.call('HGET', RETIRED, 'store')
    if not id then
        redis.call('HSET', RETIRED, 'store', candidate)
        id = candidate
    end
    local info = redis.pcall('INFO', 'server')
    local run = type(info) == 'string' and string.match(info, 'run_id:(%x+)') or ''
    return id .. string.sub(run, 1, 16)
end

local function retired_version()
    return tonumber(redis.call('HGET', RETIRED, 'version') or '0')
end

-- What is stored of an incarnation, oldest first.
local function publications(incarnation)
    local found = {}
    for _, field in ipairs(redis.call('HKEYS', vector_key(incarnation))) do
        local epoch, sequence = string.match(field, '^(%d+)%.(%d+)$')
        found[#found + 1] = { epoch = tonumber(epoch), sequence = tonumber(sequence), field = field }
    end
    table.sort(found, function(one, other) return one.sequence < other.sequence end)
    return found
end

local function latest_sequence(incarnation)
    local found = publications(incarnation)
    return #found > 0 and found[#found].sequence or 0
end

-- A vector takes the place of that of its epoch; and of later ones, where the clock went back.
local function store_vector(incarnation, epoch, sequence, content)
    local key = vector_key(incarnation)
    for _, publication in ipairs(publications(incarnation)) do
        if publication.epoch >= epoch then
            redis.call('HDEL', key, publication.field)
        end
    end
    redis.call('HSET', key, digits(epoch) .. '.' .. digits(sequence), content)
end

local function remove(incarnation)
    redis.call('DEL', vector_key(incarnation))
    redis.call('ZREM', SEEN, incarnation)
end

local function replace_retired(version, content, folded)
    redis.call('HMSET', RETIRED, 'version', version, 'content', content, 'folded', folded)
    redis.call('DEL', FOLDED)
    for incarnation, sequence in pairs(cjson.decode(folded)) do
        redis.call('HSET', FOLDED, incarnation, digits(sequence))
    end
end
