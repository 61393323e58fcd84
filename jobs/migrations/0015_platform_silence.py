"""Since when a platform has said nothing about a task that we understand."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0014_audit_tenant")]

    operations = [
        migrations.AddField(
            model_name="platformtask",
            name="silent_since",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddIndex(
            model_name="platformtask",
            index=models.Index(
                condition=models.Q(("silent_since__isnull", False)),
                fields=["ended_at", "silent_since"],
                name="platform_silent",
            ),
        ),
    ]
