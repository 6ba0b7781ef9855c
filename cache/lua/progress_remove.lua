-- Removes a progress hash that was not updated since a given time.
--
-- KEYS[1]  the progress hash
-- ARGV[1]  that time, in milliseconds since the epoch, by the store's clock
-- ARGV[2…] statuses with which it is kept
--
-- Returns 1 if removed, 0 if it was updated later, is kept, or holds no progress.

local held = redis.call('HMGET', KEYS[1], 'status', 'updated_at')
local touched = tonumber(held[2] or '')
if not held[1] or not touched or touched > tonumber(ARGV[1]) then
    return 0
end
for i = 2, #ARGV do
    if held[1] == ARGV[i] then
        return 0
    end
end
return redis.call('DEL', KEYS[1])
