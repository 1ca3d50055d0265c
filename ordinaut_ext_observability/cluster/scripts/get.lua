-- KEYS: a document.
return redis.call('HMGET', KEYS[1], 'version', 'content')
