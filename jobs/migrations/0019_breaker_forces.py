"""Who holds a breaker, since when and why, for those who wait behind it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0018_polls_unclaimed")]

    operations = [
        migrations.AddField(
            model_name="breaker",
            name="forced_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="breaker",
            name="forced_by",
            field=models.TextField(db_default="", default=""),
        ),
        migrations.AddField(
            model_name="breaker",
            name="forced_reason",
            field=models.TextField(db_default="", default=""),
        ),
    ]
