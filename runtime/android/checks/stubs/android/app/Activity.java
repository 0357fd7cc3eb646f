package android.app;

public class Activity extends android.content.Context {
    protected void onCreate(android.os.Bundle savedInstanceState) {}

    protected void onStart() {}

    protected void onStop() {}

    public void onRequestPermissionsResult(int requestCode, String[] permissions, int[] grantResults) {}

    public final void requestPermissions(String[] permissions, int requestCode) {}

    public final void runOnUiThread(Runnable action) {}

    public void setContentView(android.view.View view) {}

    public android.view.Window getWindow() {
        return null;
    }
}
