package compute

import (
	"context"
	"errors"

	"github.com/hanok-cloud/hanok/internal/api"
	"github.com/hanok-cloud/hanok/internal/db"
	"github.com/hanok-cloud/hanok/internal/fault"
	"github.com/hanok-cloud/hanok/internal/nodeapi"
	"github.com/hanok-cloud/hanok/internal/nodehub"
)

// showPassword is the password that the guest encrypted with its owner's key and posted to the metadata service; empty when it posted none.
func (s *Service) showPassword(ctx context.Context, r *api.Request, _ api.None) (map[string]string, error) {
	password, err := s.callPassword(ctx, r, "os_compute_api:os-server-password:show", nodeapi.MethodPassword)
	if err != nil {
		return nil, err
	}
	return map[string]string{"password": string(password)}, nil
}

func (s *Service) clearPassword(ctx context.Context, r *api.Request, _ api.None) (api.None, error) {
	_, err := s.callPassword(ctx, r, "os_compute_api:os-server-password:clear", nodeapi.MethodClearPassword)
	return api.None{}, err
}

// callPassword asks the node, which keeps it beside its metadata service.
func (s *Service) callPassword(ctx context.Context, r *api.Request, rule, method string) ([]byte, error) {
	var v *Server
	err := s.readServer(ctx, r, rule, func(_ *db.Tx, got *Server) error {
		v = got
		return nil
	})
	if err != nil || v.Host == "" || v.LaunchedAt == 0 || s.nodes == nil {
		return nil, err // a guest that never ran has posted nothing
	}
	ctx, stop := context.WithTimeout(ctx, nodeTimeout)
	defer stop()
	password, err := s.nodes.Call(ctx, v.Host, nodeapi.Call{Method: method, GuestID: v.ID, RequestID: r.ID})
	if errors.Is(err, nodehub.ErrNotConnected) {
		return nil, fault.Conflict("The agent of the host of instance %s is not connected; the guest's password cannot be reached now.", v.ID).Because(err)
	}
	if err != nil {
		return nil, fault.Conflict("The password of instance %s cannot be reached: its host did not answer.", v.ID).Because(err)
	}
	return password, nil
}
