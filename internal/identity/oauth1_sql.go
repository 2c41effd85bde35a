package identity

import (
	"encoding/json"
	"errors"

	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
)

// grantToken is a request token or an access token of OAuth 1.0.
type grantToken struct {
	id, secret, verifier, user, project, consumer string
	roles                                         []string
	expires                                       int64 // microseconds
}

func scanGrantToken(r db.Row) (t grantToken, err error) {
	var roles string
	if err = r.Scan(&t.id, &t.secret, &t.verifier, &t.user, &t.project, &t.consumer, &roles, &t.expires); err == nil {
		err = json.Unmarshal([]byte(roles), &t.roles)
	}
	return t, err
}

func requestToken(tx *db.Tx, id string) (grantToken, error) {
	t, err := db.One(tx, scanGrantToken, `SELECT id, secret, verifier, user_id, project_id, consumer_id, roles, expires_at FROM identity_request_tokens WHERE id = $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		err = fault.NotFound("Request token not found")
	}
	return t, err
}

const accessTokenColumns = `SELECT id, secret, '', user_id, project_id, consumer_id, roles, expires_at FROM identity_access_tokens `

func accessToken(tx *db.Tx, id string) (grantToken, error) {
	t, err := db.One(tx, scanGrantToken, accessTokenColumns+`WHERE id = $1`, id)
	if errors.Is(err, db.ErrNotFound) {
		err = fault.NotFound("Access token not found")
	}
	return t, err
}

func accessTokensOf(tx *db.Tx, user string) ([]grantToken, error) {
	return db.All(tx, scanGrantToken, accessTokenColumns+`WHERE user_id = $1 ORDER BY id`, user)
}

// insertRequestToken stores a new request token, and forgets those that nobody used in time.
func insertRequestToken(tx *db.Tx, t grantToken) error {
	if _, err := tx.Exec(`DELETE FROM identity_request_tokens WHERE expires_at < $1`, tx.NowMicros()); err != nil {
		return err
	}
	_, err := tx.Exec(`INSERT INTO identity_request_tokens (id, secret, project_id, consumer_id, expires_at) VALUES ($1,$2,$3,$4,$5)`, t.id, t.secret, t.project, t.consumer, t.expires)
	return err
}

func authorizeRequestToken(tx *db.Tx, t grantToken) error {
	roles, err := json.Marshal(t.roles)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`UPDATE identity_request_tokens SET verifier = $1, user_id = $2, roles = $3 WHERE id = $4`, t.verifier, t.user, string(roles), t.id)
	return err
}

// exchangeRequestToken turns a request token into an access token; who comes second finds it gone.
func exchangeRequestToken(tx *db.Tx, request string, t grantToken) error {
	n, err := tx.Exec(`DELETE FROM identity_request_tokens WHERE id = $1`, request)
	if err != nil {
		return err
	}
	if n == 0 {
		return fault.NotFound("Request token not found")
	}
	roles, err := json.Marshal(t.roles)
	if err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO identity_access_tokens (id, secret, user_id, project_id, roles, consumer_id, expires_at) VALUES ($1,$2,$3,$4,$5,$6,$7)`,
		t.id, t.secret, t.user, t.project, string(roles), t.consumer, t.expires)
	return err
}

// dropOAuth deletes the tokens of a consumer, a user or a project.
func dropOAuth(tx *db.Tx, column, id string) error {
	for _, table := range []string{"identity_request_tokens", "identity_access_tokens"} {
		if _, err := tx.Exec(`DELETE FROM `+table+` WHERE `+column+` = $1`, id); err != nil {
			return err
		}
	}
	return nil
}
