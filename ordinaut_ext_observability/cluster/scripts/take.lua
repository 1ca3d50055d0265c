-- KEYS: a queue. ARGV: how many rows at the most.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local rows = {}
while #rows < tonumber(ARGV[1]) do
    local row = redis.call('LPOP', KEYS[1])
    if not row then
        break
    end
    local space = string.find(row, ' ', 1, true)
    if tonumber(string.sub(row, 1, space - 1)) > now then
        rows[#rows + 1] = string.sub(row, space + 1)
    end
end
return rows
