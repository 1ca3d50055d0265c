local _, store, expected = unpack(ARGV, 1, 3)
if identity() ~= store or redis.call('LLEN', SERIES) ~= tonumber(expected) then
    return 0
end
-- In pieces: a command in a script takes some 8,000 arguments.
for first = 4, #ARGV, 5000 do
    redis.call('RPUSH', SERIES, unpack(ARGV, first, math.min(first + 4999, #ARGV)))
end
return 1
