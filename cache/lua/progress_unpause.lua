-- Takes the word "pause" back that was left for one claim of a job; any other word stays.
--
-- KEYS[1]  the progress hash
-- ARGV[1]  fence of the claim it was for
--
-- Returns 1 when it was there, else 0.

if redis.call('HGET', KEYS[1], 'control') == 'pause:' .. ARGV[1] then
    return redis.call('HDEL', KEYS[1], 'control')
end
return 0
