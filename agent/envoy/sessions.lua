-- A session belongs to the caller that it was given to: the server's answer names it with a seal over caller and session,
-- and only who presents it with the seal of its own identity uses it.
--
-- Stands behind the classifier at ingress, on the paths that have sessions. The server sees its own session ids, the caller
-- sees sealed ones. The verdict is taken away first and given back last: whatever goes wrong in between denies.

local INNER, OUTER = @INNER@, @OUTER@ -- the key of HMAC (RFC 2104), padded to a block
local HEADER = "mcp-session-id"
local MAX = 512 -- of a session's name: what is hashed costs
local SEAL = 64
local band, bor, bxor, bnot, tobit = bit.band, bit.bor, bit.bxor, bit.bnot, bit.tobit
local ror, lshift, rshift = bit.ror, bit.lshift, bit.rshift

-- SHA-256 (FIPS 180-4). Envoy gives scripts no digest. ---------------------------------------------------------------

local ROUNDS, INITIAL = {}, {} -- bits of the cubic and square roots of the first primes

local function fraction(x)
  return tobit(math.floor(x % 1 * 4294967296))
end

local function is_prime(n)
  for divisor = 2, math.sqrt(n) do
    if n % divisor == 0 then return false end
  end
  return true
end

for n = 2, 311 do
  if is_prime(n) then
    ROUNDS[#ROUNDS + 1] = fraction(n ^ (1 / 3))
    if #INITIAL < 8 then INITIAL[#INITIAL + 1] = fraction(math.sqrt(n)) end
  end
end

local function bytes(word)
  return string.char(rshift(word, 24), band(rshift(word, 16), 255), band(rshift(word, 8), 255), band(word, 255))
end

local W = {}

local function schedule(text, at)
  for i = 1, 16 do
    local a, b, c, d = string.byte(text, at + 4 * i - 4, at + 4 * i - 1)
    W[i] = bor(lshift(a, 24), lshift(b, 16), lshift(c, 8), d)
  end
  for i = 17, 64 do
    local x, y = W[i - 15], W[i - 2]
    local near, far = bxor(ror(x, 7), ror(x, 18), rshift(x, 3)), bxor(ror(y, 17), ror(y, 19), rshift(y, 10))
    W[i] = tobit(W[i - 16] + near + W[i - 7] + far)
  end
end

local function compress(state)
  local a, b, c, d, e, f, g, h = unpack(state)
  for i = 1, 64 do
    local mixed, choice = bxor(ror(e, 6), ror(e, 11), ror(e, 25)), bxor(band(e, f), band(bnot(e), g))
    local one = tobit(h + mixed + choice + ROUNDS[i] + W[i])
    local two = bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + bxor(band(a, b), band(a, c), band(b, c))
    a, b, c, d, e, f, g, h = tobit(one + two), a, b, c, tobit(d + one), e, f, g
  end
  for i, word in ipairs({a, b, c, d, e, f, g, h}) do state[i] = tobit(state[i] + word) end
end

local function sha256(text)
  local padded = text .. "\128" .. string.rep("\0", (55 - #text) % 64) .. "\0\0\0\0" .. bytes(#text * 8)
  local state, out = {unpack(INITIAL)}, {}
  for at = 1, #padded, 64 do
    schedule(padded, at)
    compress(state)
  end
  for i, word in ipairs(state) do out[i] = bytes(word) end
  return table.concat(out)
end

-- Seals. --------------------------------------------------------------------------------------------------------------

-- Who calls: the gate has let pass only certificates with exactly one URI of our trust domain.
local function caller(handle)
  return handle:streamInfo():downstreamSslConnection():uriSanPeerCertificate()[1]
end

-- Neither part has a line end in it: two pairs never make one text.
local function seal(peer, session)
  local code = sha256(OUTER .. sha256(INNER .. peer .. "\n" .. session))
  return (string.gsub(code, ".", function(c) return string.format("%02x", string.byte(c)) end))
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local given, verdict = headers:get(HEADER), headers:get("writ-verdict")
  if given == nil or verdict ~= "ok" then return end
  headers:replace("writ-verdict", "claim_not_allowed")
  local session = string.sub(given, 1, -SEAL - 2)
  -- Lua compares texts by where they stand, not byte by byte: a wrong seal takes as long as a nearly right one.
  if session == "" or #session > MAX or given ~= session .. "." .. seal(caller(handle), session) then return end
  headers:replace(HEADER, session)
  headers:replace("writ-verdict", verdict)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local session = headers:get(HEADER)
  if session then headers:replace(HEADER, session .. "." .. seal(caller(handle), session)) end
end
