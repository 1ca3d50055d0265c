local candidate, known_store, known_version = ARGV[1], ARGV[2], tonumber(ARGV[3])
local interval_seconds = tonumber(ARGV[5])
local store, now = identity(candidate), now_ms()
local known = known_store == store and cjson.decode(ARGV[4]) or {}
local epoch = math.floor(now / 1000 / interval_seconds)

local seen = redis.call('ZRANGE', SEEN, 0, -1, 'WITHSCORES')
local vectors = {}
for position = 1, #seen, 2 do
    local incarnation = seen[position]
    local after = known[incarnation] or -1
    if after > epoch then -- the clock went back: what is new has lower epochs than what is known
        after = -1
    end
    for _, publication in ipairs(publications(incarnation)) do
        if publication.epoch > after then
            vectors[#vectors + 1] = incarnation
            vectors[#vectors + 1] = publication.field
            vectors[#vectors + 1] = redis.call('HGET', vector_key(incarnation), publication.field)
        end
    end
end

local retired = {}
local version = retired_version()
if known_store ~= store or known_version ~= version then
    retired = { version, redis.call('HGET', RETIRED, 'content') or '', redis.call('HGET', RETIRED, 'folded') or '{}' }
end
return { store, now, seen, vectors, retired }
