local candidate, store, expected_version, version, content, folded = unpack(ARGV, 1, 6)
local folding = cjson.decode(ARGV[7])

if identity(candidate) ~= store or retired_version() ~= tonumber(expected_version) then
    return 0
end
for incarnation, sequence in pairs(folding) do
    local latest = latest_sequence(incarnation)
    -- Vectors that were evicted are no hindrance: who folds has them, and else nobody ever could.
    local evicted = latest == 0 and redis.call('ZSCORE', SEEN, incarnation)
    if latest ~= sequence and not evicted then
        return 0
    end
end
replace_retired(version, content, folded)
for incarnation in pairs(folding) do
    remove(incarnation)
end
return 1
