-- A fence in PostgreSQL (9.5 or later): once for a database.
--
--   BEGIN;
--   SELECT cflock_fence('report', 1764230400000000);  -- $CFLOCK_TOKEN
--   ... whatever the run has to write ...
--   COMMIT;
--
-- The call fails, and the transaction with it, when the resource has seen a
-- higher token.  Otherwise it locks the resource's row until the end of the
-- transaction: a newer token waits until then, and the older one is refused
-- from then on.

CREATE TABLE cflock_fence (
	resource text PRIMARY KEY,
	token bigint NOT NULL
);

CREATE FUNCTION cflock_fence(text, bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO cflock_fence VALUES ($1, 0) ON CONFLICT DO NOTHING;
	UPDATE cflock_fence SET token = $2 WHERE resource = $1 AND token <= $2;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'token % of % is fenced off', $2, $1
			USING ERRCODE = 'CF080';
	END IF;
END
$$;
