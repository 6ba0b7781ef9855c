-- Leaves a word for the worker of a job in its progress hash, which its next flush reads back.
--
-- KEYS[1]  the progress hash
-- ARGV[1]  the word, "cancel:<fence>" or "pause:<fence>"
-- ARGV[2]  life in milliseconds of a hash that this creates, so that none is left without one
--
-- Returns 1.

redis.call('HSET', KEYS[1], 'control', ARGV[1])
if redis.call('PTTL', KEYS[1]) < 0 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
