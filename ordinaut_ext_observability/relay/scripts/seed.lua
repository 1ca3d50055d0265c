-- ARGV from 6 on: incarnation, epoch, sequence, last seen in ms, content; again and again, in the order of sequences.
local candidate, store, version, content, folded = unpack(ARGV, 1, 5)

if identity(candidate) ~= store then
    return 0
end
if tonumber(version) > retired_version() then
    replace_retired(version, content, folded)
end
for _, incarnation in ipairs(redis.call('HKEYS', FOLDED)) do
    remove(incarnation)
end
for position = 6, #ARGV, 5 do
    local incarnation, epoch, sequence, seen, vector = unpack(ARGV, position, position + 4)
    if redis.call('HEXISTS', FOLDED, incarnation) == 0 then
        if latest_sequence(incarnation) < tonumber(sequence) then
            store_vector(incarnation, tonumber(epoch), tonumber(sequence), vector)
        end
        local noted = redis.call('ZSCORE', SEEN, incarnation)
        if not noted or tonumber(noted) < tonumber(seen) then
            redis.call('ZADD', SEEN, seen, incarnation)
        end
    end
end
return 1
