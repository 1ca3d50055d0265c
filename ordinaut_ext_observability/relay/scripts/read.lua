local _, known_store, known = unpack(ARGV)
local store, now = identity(), now_ms()
local entries, all = {}, redis.call('HGETALL', ENTRIES)
for i = 1, #all, 2 do
    local space = string.find(all[i + 1], ' ', 1, true)
    -- What was said in the future is of before the server's clock was set back: it would not end for so long.
    local age = now - (redis.call('ZSCORE', SEEN, all[i]) or now)
    if tonumber(string.sub(all[i + 1], 1, space - 1)) > now and age >= 0 then
        entries[#entries + 1] = all[i]
        entries[#entries + 1] = age
        entries[#entries + 1] = string.sub(all[i + 1], space + 1)
    else
        redis.call('HDEL', ENTRIES, all[i])
    end
end
return { store, redis.call('LRANGE', SERIES, store == known_store and known or 0, -1), redis.call('GET', TOTAL), entries }
