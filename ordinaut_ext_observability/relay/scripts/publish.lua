local candidate, incarnation, sequence, content, last_store = unpack(ARGV, 1, 5)
local interval_seconds, silent_after_ms, epochs_kept = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local store, now = identity(candidate), now_ms()

local folded = redis.call('HGET', FOLDED, incarnation)
if folded then
    return { store, now, 'refused', folded }
end
local held = publications(incarnation)
-- One that is still noted as seen was not folded: a server short of memory evicted its vectors.
if last_store == store and #held == 0 and not redis.call('ZSCORE', SEEN, incarnation) then
    return { store, now, 'refused', '' }
end
-- Of several that write for the same incarnation, the first with a sequence wins.
if ARGV[9] == '1' and #held > 0 and held[#held].sequence >= tonumber(sequence) then
    return { store, now, 'refused', digits(held[#held].sequence) }
end

-- In the same steps as readers do it from the same milliseconds, so that all round alike.
local epoch = math.floor(now / 1000 / interval_seconds)
store_vector(incarnation, epoch, tonumber(sequence), content)
-- A reader may still need the newest vector of an epoch that all have shown, and those after it.
local shown = {}
for _, publication in ipairs(held) do
    if publication.epoch <= epoch - epochs_kept then
        shown[#shown + 1] = publication.field
    end
end
for position = 1, #shown - 1 do
    redis.call('HDEL', vector_key(incarnation), shown[position])
end
redis.call('ZADD', SEEN, digits(now), incarnation)

-- Nobody can fold one whose vectors were evicted and that no reader remembers: it would be silent for ever.
local silent_before = '(' .. digits(now - silent_after_ms)
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', SEEN, '-inf', silent_before, 'LIMIT', 0, 100)) do
    if redis.call('EXISTS', vector_key(silent)) == 0 then
        remove(silent)
    end
end
return { store, now, 'published', redis.call('ZCOUNT', SEEN, '-inf', silent_before) }
