-- Removes the control request "pause" for one claim of a job; any other request stays.
--
-- KEYS[1]  the progress hash
-- ARGV[1]  fence of the claim that it is for
--
-- Returns 1 if removed, else 0.

if redis.call('HGET', KEYS[1], 'control') == 'pause:' .. ARGV[1] then
    return redis.call('HDEL', KEYS[1], 'control')
end
return 0
