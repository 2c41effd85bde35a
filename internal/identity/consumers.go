package identity

import (
	"context"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/policy"
)

// consumerRoutes are OS-OAUTH1's consumers; what they do is in oauth1_api.go.
func (s *Service) consumerRoutes() []api.Route {
	o := api.Object
	const path = "/v3/OS-OAUTH1/consumers"
	return []api.Route{
		api.Handle("GET", path, o("identity:list_consumers"), 200, s.listConsumers),
		api.Handle("POST", path, o("identity:create_consumer"), 201, s.createConsumer),
		api.Handle("GET", path+"/{consumer_id}", o("identity:get_consumer"), 200, s.showConsumer),
		api.Handle("PATCH", path+"/{consumer_id}", o("identity:update_consumer"), 200, s.updateConsumer),
		api.Handle("DELETE", path+"/{consumer_id}", o("identity:delete_consumer"), 204, s.deleteConsumer),
	}
}

func (s *Service) getConsumer(tx *db.Tx, r *api.Request) (doc, error) {
	d, err := s.consumer.find(tx, r.Path("consumer_id"))
	if err == nil && d == nil {
		err = fault.NotFound("Consumer not found")
	}
	return d, err
}

// secretless shows a consumer without its secret, which only its creation tells.
func (s *Service) secretless(r *api.Request, d doc) doc {
	delete(d, "secret")
	return s.consumer.linked(s, base(r), d)
}

func (s *Service) listConsumers(ctx context.Context, r *api.Request, _ api.None) (api.JSON, error) {
	if err := r.Enforce("identity:list_consumers", policy.Map{}); err != nil {
		return nil, err
	}
	list, err := inRead(ctx, s, func(tx *db.Tx) ([]doc, error) {
		all, err := s.consumer.all(tx, &db.Where{})
		for _, d := range all {
			s.secretless(r, d)
		}
		return all, err
	})
	if err != nil {
		return nil, err
	}
	return s.collection(r, "consumers", list)
}

func (s *Service) createConsumer(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:create_consumer", policy.Map{}); err != nil {
		return nil, err
	}
	d, err := checked(s.schemas.consumerCreate, memberOf(in, "consumer"))
	if err != nil {
		return nil, err
	}
	d = normalized(d)
	d["id"], d["secret"] = newID(), newID()
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		if err := s.consumer.insert(tx, d); err != nil {
			return nil, err
		}
		got, err := s.consumer.get(tx, str(d, "id"))
		if err != nil {
			return nil, err
		}
		return s.consumer.member(s, r, got), nil
	})
}

func (s *Service) showConsumer(ctx context.Context, r *api.Request, _ api.None) (doc, error) {
	if err := r.Enforce("identity:get_consumer", policy.Map{}); err != nil {
		return nil, err
	}
	return inRead(ctx, s, func(tx *db.Tx) (doc, error) {
		d, err := s.getConsumer(tx, r)
		if err != nil {
			return nil, err
		}
		return doc{"consumer": s.secretless(r, d)}, nil
	})
}

func (s *Service) updateConsumer(ctx context.Context, r *api.Request, in map[string]any) (doc, error) {
	if err := r.Enforce("identity:update_consumer", policy.Map{}); err != nil {
		return nil, err
	}
	d, err := checked(s.schemas.consumerUpdate, memberOf(in, "consumer"))
	if err != nil {
		return nil, err
	}
	if err := sameID(d, r.Path("consumer_id")); err != nil {
		return nil, err
	}
	return inWrite(ctx, s, func(tx *db.Tx) (doc, error) {
		old, err := s.getConsumer(tx, r)
		if err != nil {
			return nil, err
		}
		got, err := s.consumer.update(tx, old, normalized(d))
		if err != nil {
			return nil, err
		}
		return doc{"consumer": s.secretless(r, got)}, nil
	})
}

func (s *Service) deleteConsumer(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	if err := r.Enforce("identity:delete_consumer", policy.Map{}); err != nil {
		return api.None{}, err
	}
	return api.None{}, s.write(ctx, func(tx *db.Tx) error {
		d, err := s.getConsumer(tx, r)
		if err != nil {
			return err
		}
		if err := dropOAuth(tx, "consumer_id", str(d, "id")); err != nil {
			return err
		}
		return s.consumer.remove(tx, str(d, "id"))
	})
}
