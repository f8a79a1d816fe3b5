-- Extends a lease that is still its holder's own.
--
-- KEYS  1 the lock   2 the holder, for people
-- ARGV  1 the lock's value "<id>/<token>"   2 ttl in ms
--
-- Returns {1}, or {0, value of the lock or ''}.

local held = redis.call('GET', KEYS[1])

if held ~= ARGV[1] then
	return {0, held or ''}
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return {1}
