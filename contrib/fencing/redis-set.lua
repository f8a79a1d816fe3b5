-- KEYS: a hash of the fields token and value.  ARGV: the token, the new value.
-- Sets both, unless the key has seen a higher token.
local token = tonumber(ARGV[1])
local seen = redis.call('HGET', KEYS[1], 'token') or '0'

if not token then
	return redis.error_reply('ERR the token is not a number')
end
if token < tonumber(seen) then
	return redis.error_reply('FENCED ' .. ARGV[1] .. ' is fenced off: ' ..
		'the key has seen token ' .. seen)
end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'value', ARGV[2])
return redis.status_reply('OK')
