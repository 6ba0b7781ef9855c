-- Adds a member to an index whose members expire one by one, and removes the expired ones.
--
-- KEYS[1]  the index, a sorted set by expiry (milliseconds since the epoch); it expires with its last member
-- ARGV[1]  the member
-- ARGV[2]  its TTL in milliseconds
-- ARGV[3]  optional: milliseconds since the epoch; the member is refused if the index was marked since then
--          (index_mark)
--
-- Returns 1, or 0 if refused. The mark is the member '' with the negative of its time as score.
-- Adding a member again never shortens its TTL.

local key = KEYS[1]
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
if ARGV[3] then
    local mark = redis.call('ZSCORE', key, '')
    if mark and -tonumber(mark) >= tonumber(ARGV[3]) then
        return 0
    end
end
redis.call('ZADD', key, 'GT', string.format('%.0f', now + tonumber(ARGV[2])), ARGV[1])
redis.call('ZREMRANGEBYSCORE', key, 0, string.format('%.0f', now))
local last = redis.call('ZREVRANGE', key, 0, 0, 'WITHSCORES')
local ttl = string.format('%.0f', tonumber(last[2]) - now)
if redis.call('PTTL', key) < tonumber(ttl) then
    redis.call('PEXPIRE', key, ttl)
end
return 1
