package compute

import (
	"context"
	"errors"
	"strings"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/policy"
)

type keypairIn struct {
	Keypair struct {
		Name      string  `json:"name"`
		Type      string  `json:"type"`
		PublicKey *string `json:"public_key"`
		UserID    string  `json:"user_id"`
	} `json:"keypair"`
}

type keypairDoc struct {
	Name        string `json:"name"`
	PublicKey   string `json:"public_key"`
	Fingerprint string `json:"fingerprint"`
	Type        string `json:"type" mv:"2.2-"`
	PrivateKey  string `json:"private_key,omitempty"`
	UserID      string `json:"user_id,omitempty"`
	*keypairMore
}

type keypairMore struct {
	CreatedAt string  `json:"created_at"`
	Deleted   bool    `json:"deleted"`
	DeletedAt *string `json:"deleted_at"`
	ID        int64   `json:"id"`
	UpdatedAt *string `json:"updated_at"`
}

func keypairBase(k Keypair) keypairDoc {
	return keypairDoc{Name: k.Name, PublicKey: k.PublicKey, Fingerprint: k.Fingerprint, Type: k.Type}
}

func (s *Service) keypairRoutes() []api.Route {
	one := "/v2.1/os-keypairs/{name}"
	return []api.Route{
		api.Handle("GET", "/v2.1/os-keypairs", api.Object(pKeypairs+"index"), 200, s.indexKeypairs, query(keypairsIndexQuery())),
		api.Handle("POST", "/v2.1/os-keypairs", api.Object(pKeypairs+"create"), 200, s.postKeypair, body(keypairsCreateBody()), api.MV("2.1")),
		api.Handle("POST", "/v2.1/os-keypairs", api.Object(pKeypairs+"create"), 201, s.postKeypair, body(keypairsCreateBody()), api.MV("2.2-")),
		api.Handle("GET", one, api.Object(pKeypairs+"show"), 200, s.showKeypair, query(keypairsShowQuery())),
		api.Handle("DELETE", one, api.Object(pKeypairs+"delete"), 202, s.deleteKeypair, query(keypairsDeleteQuery()), api.MV("2.1")),
		api.Handle("DELETE", one, api.Object(pKeypairs+"delete"), 204, s.deleteKeypair, query(keypairsDeleteQuery()), api.MV("2.2-")),
	}
}

// keypairUser is whose key pairs are meant, when the rule lets the caller.
func keypairUser(r *api.Request, rule, asked string) (string, error) {
	user := r.UserID()
	if asked != "" && r.Since("2.10") {
		user = asked
	}
	return user, r.Enforce(pKeypairs+rule, policy.Map{"user_id": user})
}

func (s *Service) indexKeypairs(ctx context.Context, r *api.Request, _ api.None) (map[string]any, error) {
	user, err := keypairUser(r, "index", r.Query().Get("user_id"))
	if err != nil {
		return nil, err
	}
	limit, marker := 1<<30, ""
	if r.Since("2.35") {
		if limit, marker, err = page(r); err != nil {
			return nil, err
		}
	}
	var list []Keypair
	if err := s.read(ctx, func(tx *db.Tx) error {
		list, err = listKeypairs(tx, user, marker, limit)
		return err
	}); err != nil {
		return nil, err
	}
	docs := make([]map[string]keypairDoc, len(list))
	for i, k := range list {
		docs[i] = map[string]keypairDoc{"keypair": keypairBase(k)}
	}
	out := map[string]any{"keypairs": docs}
	if r.Since("2.35") && len(list) > 0 && len(list) == limit {
		out["keypairs_links"] = nextLink(r, "os-keypairs", list[len(list)-1].Name)
	}
	return out, nil
}

func (s *Service) postKeypair(ctx context.Context, r *api.Request, in keypairIn) (map[string]keypairDoc, error) {
	user, err := keypairUser(r, "create", in.Keypair.UserID)
	if err != nil {
		return nil, err
	}
	k := Keypair{UserID: user, Name: strings.TrimSpace(in.Keypair.Name), Type: in.Keypair.Type}
	if k.Type == "" {
		k.Type = "ssh"
	}
	private := ""
	switch {
	case in.Keypair.PublicKey != nil:
		k.PublicKey = *in.Keypair.PublicKey
	case k.Type == "x509":
		if private, k.PublicKey, err = s.generateCertificate(user); err != nil {
			return nil, err
		}
	default:
		if private, k.PublicKey, err = s.generateKey(); err != nil {
			return nil, err
		}
	}
	if k.Fingerprint, err = fingerprintOf(k.Type, k.PublicKey); err != nil {
		return nil, err
	}
	if err := s.write(ctx, func(tx *db.Tx) (err error) {
		k, err = s.createKeypair(tx, k)
		return err
	}); err != nil {
		return nil, err
	}
	d := keypairBase(k)
	d.UserID, d.PrivateKey = k.UserID, private
	return map[string]keypairDoc{"keypair": d}, nil
}

func (s *Service) showKeypair(ctx context.Context, r *api.Request, _ api.None) (map[string]keypairDoc, error) {
	user, err := keypairUser(r, "show", r.Query().Get("user_id"))
	if err != nil {
		return nil, err
	}
	var k Keypair
	err = s.read(ctx, func(tx *db.Tx) (err error) {
		k, err = keypair(tx, user, r.Path("name"))
		return err
	})
	if errors.Is(err, db.ErrNotFound) {
		err = keypairNotFound(user, r.Path("name"))
	}
	d := keypairBase(k)
	d.UserID = k.UserID
	d.keypairMore = &keypairMore{CreatedAt: isoMicros(k.createdAt), ID: k.num}
	return map[string]keypairDoc{"keypair": d}, err
}

func (s *Service) deleteKeypair(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	user, err := keypairUser(r, "delete", r.Query().Get("user_id"))
	if err != nil {
		return api.None{}, err
	}
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		n, err := tx.Exec(`DELETE FROM keypairs WHERE user_id = $1 AND name = $2`, user, r.Path("name"))
		if err == nil && n == 0 {
			err = keypairNotFound(user, r.Path("name"))
		}
		return err
	})
}
