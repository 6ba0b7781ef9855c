-- Removes a progress hash that nobody has touched since a moment.
--
-- KEYS[1]  the progress hash
-- ARGV[1]  the moment, in milliseconds since the epoch, by the store's clock
-- ARGV[2…] states in which it is kept all the same
--
-- Returns 1 when it is gone, 0 when it was touched later, is kept, or holds no progress.

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
