-- What identity looks up in large clouds. Names alone are asked for by lists and by logins that name a domain; deletions look for what names a project.
CREATE INDEX identity_users_by_name ON identity_users (name);
CREATE INDEX identity_users_by_federated_name ON identity_users (federated_name) WHERE federated_name <> '';
CREATE INDEX identity_users_default_project ON identity_users (default_project_id);
CREATE INDEX identity_projects_by_name ON identity_projects (name);
CREATE INDEX identity_projects_domains ON identity_projects (id) WHERE is_domain = TRUE;
CREATE INDEX identity_groups_by_name ON identity_groups (name);
CREATE INDEX identity_credentials_project ON identity_credentials (project_id);
CREATE INDEX identity_application_credentials_project ON identity_application_credentials (project_id);
CREATE INDEX identity_trusts_project ON identity_trusts (project_id);
CREATE INDEX identity_limits_domain ON identity_limits (domain_id);
CREATE INDEX identity_request_tokens_user ON identity_request_tokens (user_id);
CREATE INDEX identity_request_tokens_project ON identity_request_tokens (project_id);
CREATE INDEX identity_access_tokens_project ON identity_access_tokens (project_id);

-- Who has roles on a target: one of many users there is found without reading the others.
CREATE INDEX identity_assignments_on ON identity_assignments (target_id, is_group, actor_id);
DROP INDEX identity_assignments_target;
