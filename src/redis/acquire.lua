-- Takes the exclusive lease, or says who has it.
--
-- KEYS  1 the lock: a string "<id>/<token>" with an expiry, as SET NX PX makes
--         it, so that any client that takes it in that way excludes us and is
--         excluded by us
--       2 the highest fencing token that was ever given; without expiry
--       3 the holder, for people: a hash that expires with the lease
-- ARGV  1 id   2 ttl in ms   3 host   4 pid   5 user   6 command   7 message
--
-- Returns {1, token}, or {0, ms left (-1: without an end), value of the lock,
-- and of its holder: id, host, pid, user, command, message, since}.
--
-- To repeat it is harmless: an id that holds the lease gets it again, with the
-- same token and a new ttl.

local held = redis.call('GET', KEYS[1])
local mine = ARGV[1] .. '/'
local token

if held and string.sub(held, 1, #mine) ~= mine then
	local who = redis.call('HMGET', KEYS[3],
		'id', 'host', 'pid', 'user', 'command', 'message', 'since')
	local answer = {0, redis.call('PTTL', KEYS[1]), held}
	for i = 1, #who do
		answer[i + 3] = who[i] or ''
	end
	return answer
end

local time = redis.call('TIME')
if held then
	token = string.sub(held, #mine + 1)
	redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
	-- Never backward, though the key may have been lost in a restart or by
	-- FLUSHALL: no token is smaller than the time at which it was given.
	local last = tonumber(redis.call('GET', KEYS[2]) or 0) or 0
	local next_token = math.max(last + 1, time[1] * 1000000 + time[2])
	-- The other way round, "nan" would pass.
	if not (next_token < 2^53) then
		return redis.error_reply('TOKEN ' .. KEYS[2] .. ' is beyond 2^53')
	end
	token = string.format('%.0f', next_token)
	redis.call('SET', KEYS[2], token)
	redis.call('SET', KEYS[1], mine .. token, 'NX', 'PX', ARGV[2])
	redis.call('HSET', KEYS[3], 'id', ARGV[1], 'host', ARGV[3], 'pid', ARGV[4],
		'user', ARGV[5], 'command', ARGV[6], 'message', ARGV[7], 'since',
		string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
end
redis.call('PEXPIRE', KEYS[3], ARGV[2])
return {1, token}
