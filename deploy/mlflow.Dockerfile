# The MLflow server of deploy/docker-compose.yaml and deploy/mlflow.yaml.
#   docker build -f deploy/mlflow.Dockerfile -t registry.example.com/mlflow:3.17.2 deploy
FROM python:3.11.13-slim-bookworm
RUN pip install --no-cache-dir 'mlflow[auth]==3.17.2' psycopg2-binary==2.9.13 boto3==1.44.8 \
    && useradd --create-home mlflow
USER mlflow
WORKDIR /home/mlflow
EXPOSE 5000
# The rest comes from the environment, so that no password is on the command line: MLFLOW_BACKEND_STORE_URI, PGPASSWORD,
# MLFLOW_ARTIFACTS_DESTINATION, MLFLOW_SERVER_ALLOWED_HOSTS.
CMD ["mlflow", "server", "--host", "0.0.0.0", "--port", "5000", "--workers", "4"]
