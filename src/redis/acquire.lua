-- Takes the lease, or a place in the line, or says who has it.
--
-- ARGV  1 id                         2 ttl in ms
--       3 spare: ttl less renew-by, in ms
--       4 kind: "exclusive", "shared", "slots:<N>"
--       5 "wait" to stand in the line, or "" to be refused at once
--       6 cooldown in ms, or 0       7 "retry" if a failure ends the cooldown
--       8 ids, separated by blanks, that must not hold the lock: ancestors
--       9 host  10 pid  11 user  12 command  13 message
--      14 "no-grace" to be given the lease in a grace period, too; "grace" not to
--         have it back in one, either; or ""
--      15 the token of a lease that the server has forgotten, to have it back, or ""
--      16 of a quorum: the token that the lease is to have, or ""
--      17 of a quorum: the ticket that `id` is to have in the line, or ""
--      18 the config epoch of the sentinels that named this server, or ""
--
-- Returns {1, token}, or {0, why, ms after which to ask again at the latest, 1 if
-- exactly then, place in the line (0: none), length of the line, ms left (-1:
-- without an end), number of holders, value of the lock, and, of who is in the
-- way: id, host, pid, user, command, message, since; ticket in the line}.  why is
-- one of
--   held      by others; ms left of the lease that ends last
--   line      free, but others wait for it; of the first of them
--   taken     over, by us: it begins in `ms left`; of us
--   cooling   down, for `ms left`
--   ancestor  held by one of those in ARGV[8]
--   kind      others use the lock with another --slots, or -s; value: which
--   grace     the server may have forgotten leases: nobody gets a new one for
--             `ms left`; value: why, since: when, as check_epoch() says it
--   token     it has to be higher than value
--
-- To repeat it is harmless: an id that holds the lease gets it again, with the
-- same token and a new ttl; one that waits keeps its place.

local id, ttl, spare, kind = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local may_wait = ARGV[5] == 'wait'
local reclaimed = ARGV[15] or ''
local proposed, ticket = tonumber(ARGV[16]), tonumber(ARGV[17])
local config_epoch = tonumber(ARGV[18]) or 0
local slots = tonumber(string.match(kind, '^slots:(%d+)$'))
local last_token, cooling, gone, epoch =
	unpack(call('MGET', TOKEN, COOLDOWN, gone_key(id), EPOCH))
if gone then
	return redis.error_reply('GONE ' .. id .. ' was released meanwhile')
end
local held, foreign = read_holders()
-- Whoever is in the way: the grace period begins when it is noticed.
if config_epoch > known_config_epoch(epoch) then
	check_epoch(epoch, ttl, config_epoch)
	epoch = call('GET', EPOCH)
end
local mine = held[id]
if ticket and call('ZSCORE', LINE, id) then
	call('ZADD', LINE, ticket, id)
end
local first = first_in_line()

local function describe(record)
	for i, field in ipairs({'host', 'pid', 'user', 'command', 'message'}) do
		record[field] = ARGV[8 + i]
	end
	record.kind = kind
	record.since = now
	return record
end

local function refuse(why, again, left, who_id, who)
	local place, waiting = call('ZRANK', LINE, id), call('ZCARD', LINE)
	local count = 0

	for _ in pairs(held) do
		count = count + 1
	end
	who = who or {}
	return {0, why, again, again < BEAT_MS and 1 or 0,
		place and place + 1 or 0, waiting, left, count,
		cut(foreign or who.value), cut(who_id), cut(who.host), cut(who.pid),
		cut(who.user), cut(who.command), cut(who.message),
		who.since and string.format('%.0f', who.since) or '',
		call('ZSCORE', LINE, id) or ''}
end

-- In a grace period, that is; of an epoch as check_epoch() returns it.
local function refuse_for_grace(grace, why, since)
	if call('ZSCORE', LINE, id) then
		show_life(id)
	end
	return refuse('grace', math.min(BEAT_MS, grace), grace, nil,
		{value = why, since = since})
end

-- Makes the lease begin, now or at `from`; `held` is all that stays beside it.
local function hold(from, token)
	mine = describe({
		token = token,
		spare = spare,
		from = from,
		started = from <= now,
		-- A ms more, as `now` is rounded down: never shorter than asked for.
		ends = math.max(from, now + 1) + ttl,
		retry = ARGV[7] == 'retry',
	})
	held[id] = mine
	write_holder(id, mine)
	write_lock(held)
	if not mine.started then
		return
	end
	if tonumber(ARGV[6]) > 0 and reclaimed == '' then
		call('SET', COOLDOWN, id, 'PX', ARGV[6])
	end
	if first then
		leave_line(id)
		-- The next may come in, too, or has a lease to watch that may be
		-- overdue before its next sign of life.
		if kind ~= 'exclusive' or ttl - spare < 2 * BEAT_MS then
			wake_first()
		end
	end
end

-- Never backward, though the key may have been lost in a restart or by FLUSHALL:
-- no token is smaller than the time at which it was given.  In a quorum it is the
-- one that was proposed, if that is higher than all before: were it the same, two
-- could have it.  Returns nil and what the script is to return, if there is none.
local function next_token(least)
	local last = tonumber(last_token or 0) or 0
	local token = proposed or math.max(last + 1, now_us, least)

	if proposed and proposed <= last or token < least then
		last = string.format('%.0f', math.max(last, least - 1))
		return nil, refuse('token', 0, 0, nil, {value = last})
	end
	-- The other way round, "nan" would pass.
	if not (token < 2^53) then
		return nil, redis.error_reply('TOKEN ' .. TOKEN .. ' is beyond 2^53')
	end
	token = string.format('%.0f', token)
	call('SET', TOKEN, token)
	return token
end

-- Takes the lease under a new token, at least `least`, to begin at `from`, in the
-- place of those in `obstacles`.  Returns what the script is to return.
local function take(from, obstacles, least)
	local token, refusal = next_token(least)
	if not token then
		return refusal
	end
	for _, obstacle in ipairs(obstacles) do
		drop_holder(obstacle.id, held[obstacle.id])
		held[obstacle.id] = nil
	end
	hold(from, token)
	if mine.started then
		return {1, token}
	end
	return refuse('taken', math.min(BEAT_MS, from - now), from - now, id, mine)
end

-- === ours already ===========================================================

if mine and proposed and reclaimed == '' and mine.token ~= ARGV[16] then
	-- A vote for a token that others did not give theirs for.
	local grace, least, why, since = check_epoch(epoch, ttl, config_epoch)
	if grace > 0 and ARGV[14] ~= 'no-grace' then
		return refuse_for_grace(grace, why, since)
	end
	local token, refusal = next_token(least)
	if not token then
		return refusal
	end
	mine.token = token
	write_holder(id, mine)
	write_lock(held)
end

if mine and (reclaimed == '' or reclaimed == mine.token) then
	if not mine.started and mine.from > now then
		if call('ZSCORE', LINE, id) then
			show_life(id)
		end
		return refuse('taken', math.min(BEAT_MS, mine.from - now),
			mine.from - now, id, mine)
	end
	-- A lease that was taken over begins; or somebody asks once more.  Not by data
	-- that may be older than what has become of it.
	local grace, least, why, since = check_epoch(epoch, ttl, config_epoch)
	if grace > 0 and reclaimed == '' and ARGV[14] ~= 'no-grace' then
		return refuse_for_grace(grace, why, since)
	end
	-- Nor by a token of before, if it was to begin only now.
	if reclaimed == '' and not proposed and tonumber(mine.token) < least then
		local token, refusal = next_token(least)
		if not token then
			return refusal
		end
		mine.token = token
	end
	hold(now, mine.token)
	return {1, mine.token}
end

-- === ours, and forgotten ====================================================

-- Within grace nobody else was given the lease.  Whoever is there has it from data
-- that are older than our token: its lease ended before ours began.  Not so with
-- those who may be there beside us; they may have a higher token, too, but not
-- one of this epoch.  Nor with those to whom a server that sentinels had left, and
-- have gone back to, has meanwhile granted what none of them took for a lease.
--
-- In a quorum it is the vote for a lease that stands by those of other servers.
-- Out of grace it is given only where nobody is in the way.  A higher token may
-- have been given here, but not by a majority, or the lease would not stand.  In
-- grace it is only for whom the lease rests on this vote: a vote for somebody else,
-- whose round may still count, may be what was forgotten.
if reclaimed ~= '' then
	local token = tonumber(reclaimed)
	local last = tonumber(last_token or 0) or 0
	local beside = {}
	local grace, least, why = check_epoch(epoch, ttl, config_epoch)
	local counts_from = why == 'failback' and least or 0

	if foreign or grace > 0 and ARGV[14] == 'grace' or not proposed and (grace <= 0 or
		last > token and last >= (kind == 'exclusive' and counts_from or least)) then
		return refuse('held', 0, 0)
	end
	for holder_id, holder in pairs(held) do
		if kind ~= 'exclusive' and holder.kind == kind and
			(grace > 0 or holder.started) then
			table.insert(beside, holder_id)
		elseif grace <= 0 or tonumber(holder.token) > token and
			tonumber(holder.token) >= counts_from then
			return refuse('held', 0, 0, holder_id, holder)
		else
			drop_holder(holder_id, holder)
			held[holder_id] = nil
		end
	end
	-- Too many: one of them is dead, as we are alive.  It has not renewed for the
	-- longest time; were it another, that could have its lease back in turn.
	table.sort(beside, function(a, b) return held[a].ends < held[b].ends end)
	if slots and #beside >= slots then
		drop_holder(beside[1], held[beside[1]])
		held[beside[1]] = nil
	end
	if token > last then
		call('SET', TOKEN, reclaimed)
	end
	hold(now, reclaimed)
	return {1, reclaimed}
end

for ancestor in string.gmatch(ARGV[8], '%S+') do
	if held[ancestor] then
		return refuse('ancestor', 0, 0, ancestor, held[ancestor])
	end
end

-- === who is in the way ======================================================

-- ms until the lease of a holder may be taken over, and from when on nothing
-- runs under it any more.
local function until_overdue(holder_id, holder)
	if not holder.started then -- as long as it shows signs of life
		local beat = call('ZSCORE', BEATS, holder_id)
		return beat and math.max(0, beat + SILENT_MS - now) or 0, holder.from
	end
	-- Waited for to its end: meanwhile another slot may become free; and whoever
	-- runs now may yet fail.
	if slots and holder.kind == kind or holder_id == cooling then
		return holder.ends - now, holder.ends
	end
	return math.max(0, holder.ends - holder.spare - now), holder.ends
end

-- Returns the holders that would have to go, each {id, overdue in ms, free from}.
local function find_obstacles()
	local obstacles, beside = {}, {}

	for holder_id, holder in pairs(held) do
		local overdue, free = until_overdue(holder_id, holder)
		local entry = {id = holder_id, overdue = overdue, free = free}

		if not holder.started or kind == 'exclusive' or
			holder.kind == 'exclusive' then
			table.insert(obstacles, entry)
		elseif slots then
			table.insert(beside, entry)
		end
	end
	-- Of those that could stay beside us, the first to end, for want of slots.
	table.sort(beside, function(a, b) return a.free < b.free end)
	for i = 1, #beside - (slots or 1) + 1 do
		table.insert(obstacles, beside[i])
	end
	return obstacles
end

-- What others that are not exclusive use the lock as, or wait to.
local function other_kind()
	for _, holder in pairs(held) do
		if holder.kind ~= 'exclusive' then
			return holder.kind
		end
	end
	local other = call('HGET', WAITERS, 'kind')
	if not other or other == kind then
		return other
	end
	-- Those who stood in the line as that may all be gone.
	for _, waiter in ipairs(call('ZRANGE', LINE, 0, -1)) do
		local record = call('HGET', WAITERS, waiter)
		if waiter ~= id and record and cjson.decode(record).kind == other then
			return other
		end
	end
end

if first then
	local before = first
	prune(id)
	first = first_in_line()
	if first ~= before and first ~= id then
		wake_first() -- it cannot know that its turn has come
	end
end

if kind ~= 'exclusive' then
	local other = other_kind()
	if other and other ~= kind then
		if leave_line(id) then
			wake_first()
		end
		return refuse('kind', 0, 0, nil, {value = other})
	end
end

-- Whoever runs now may yet fail, and another is to run then.
local runner = held[cooling]
if cooling and cooling ~= id and not (runner and runner.retry) then
	if leave_line(id) then
		wake_first()
	end
	return refuse('cooling', 0, call('PTTL', COOLDOWN), cooling, runner)
end

local obstacles = find_obstacles()
local is_free = not foreign and #obstacles == 0
local grace, least, forgot, since = 0, 0, nil, nil
if is_free and (not first or first == id) then
	grace, least, forgot, since = check_epoch(epoch, ttl, config_epoch)
	if grace <= 0 or ARGV[14] == 'no-grace' then
		return take(now, obstacles, least)
	end
end

-- === to the line ============================================================

if may_wait then
	if not call('ZSCORE', LINE, id) then
		local last = call('ZREVRANGE', LINE, 0, 0, 'WITHSCORES')[2] or 0
		call('ZADD', LINE, ticket or math.max(last + 1, now_us), id)
		call('HSET', WAITERS, id, cjson.encode(describe({})))
		first = first_in_line()
	end
	if kind ~= 'exclusive' then
		call('HSET', WAITERS, 'kind', kind)
	end
	call('DEL', wake_key(id))
	show_life(id)
end

if grace > 0 then
	return refuse_for_grace(grace, forgot, since)
end

if foreign then
	local left = call('PTTL', LOCK)
	local again = first == id and FOREIGN_MS or BEAT_MS
	if left >= 0 then
		again = math.min(again, left + 1)
	end
	return refuse('held', again, left)
end

-- Who is to be shown, until when all are overdue, and until when they run.
local overdue, free, shown = 0, 0, nil
for _, obstacle in ipairs(obstacles) do
	overdue = math.max(overdue, obstacle.overdue)
	if obstacle.free > free then
		free, shown = obstacle.free, obstacle.id
	end
end

-- Taking over.  What has taken over itself, and died before it was to start, is
-- no obstacle from then on; that needs no place in the line.
if overdue == 0 and (first == id or not first and free <= now) then
	grace, least, forgot, since = check_epoch(epoch, ttl, config_epoch)
	if grace <= 0 or ARGV[14] == 'no-grace' then
		return take(free, obstacles, least)
	end
	return refuse_for_grace(grace, forgot, since)
end

local again = BEAT_MS
if first == id then
	again = math.min(again, overdue)
elseif first then
	-- Should the first be dead, somebody has to see it in time.
	again = math.min(again, until_pruned(first))
end
if shown then
	return refuse('held', again, free - now, shown, held[shown])
end
local who = call('HGET', WAITERS, first)
return refuse('line', again, 0, first, who and cjson.decode(who))
