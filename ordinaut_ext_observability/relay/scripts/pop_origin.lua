local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

while true do
    local note = redis.call('LPOP', KEYS[1])
    if not note then
        return false
    end
    local colon = string.find(note, ':', 1, true)
    if tonumber(string.sub(note, 1, colon - 1)) > now then
        return string.sub(note, colon + 1)
    end
end
